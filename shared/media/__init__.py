"""What the headers of pictures and sounds say, read before anything is decoded."""
