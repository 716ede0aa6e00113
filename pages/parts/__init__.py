"""What the screens share: the open model, a person's session, and the parts of a screen."""
