//! A world made of text, for tests.
