"""A local server that speaks the Hub's protocol, for the real clients to talk to."""
