"""The zoo against the papers' figures and the frameworks' own networks."""
