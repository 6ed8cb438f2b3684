"""Decodes callers' pictures, sounds and videos in child processes with limits of time and memory.

Where is a decompression bomb refused? `shared/media/decompression_bombs.py` (`check_pixels`).
How many pixels may all requests hold at once? `picture_decoder.py` (`PictureDecoder`).
Which frames of a video are decoded? `video_decoder.py` (`VideoDecoder`).
"""
