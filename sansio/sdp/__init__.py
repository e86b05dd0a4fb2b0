"""Session descriptions: a lossless codec, typed views of what peers say, and the building of our own."""
