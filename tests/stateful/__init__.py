"""Random calls on the product and the reference model side by side: every result and all lists must agree."""
