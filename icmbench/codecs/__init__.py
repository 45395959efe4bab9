"""Learned codecs: image to bytes and back, and the container that holds the bytes."""
