"""What a visitor takes away: files, links, reports."""
