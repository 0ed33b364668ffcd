"""Services: each a verb of the tool; they raise DockercError and print nothing."""
