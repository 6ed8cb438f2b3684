"""What the headers of pictures and sounds say, and the processes in which files are decoded.

Where is a decompression bomb refused? `decompression_bombs.py` (`check_pixels`).
What bounds a decoder's time and memory? `decoder_protocol.py` (`serve`).
What says whether a file is a picture? `files.py` (`medium_of`).
"""
