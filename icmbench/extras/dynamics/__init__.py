"""`icmbench dynamics`: what happens while a method trains, and where the bits go."""
