"""Commands about what is stated besides links: certificates of instruments, and expectations."""
