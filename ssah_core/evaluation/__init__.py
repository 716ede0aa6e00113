"""What a reply was, and what an ablation did to it."""
