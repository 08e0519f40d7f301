"""What characters can draw: glyphs, vocabulary, small pictures."""
