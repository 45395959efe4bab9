"""Pictures made from a seed: `shapes` (objects told apart by texture) and `leaves` (natural-like)."""
