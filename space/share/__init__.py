"""What a visitor takes away: ZIPs, links, reports."""
