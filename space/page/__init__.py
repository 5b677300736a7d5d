"""The page itself: layout, words, events, endpoints."""
