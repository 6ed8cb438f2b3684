"""What the headers of pictures and sounds say, and the processes in which pictures are decoded."""
