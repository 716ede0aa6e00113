"""What the core costs, each line beside a reference measured in the same run."""
