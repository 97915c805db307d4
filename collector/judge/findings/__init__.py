"""What is found in a batch's legs, as exceptions."""
