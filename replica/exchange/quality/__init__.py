"""Quality: `measures` has the formulas, `profile` looks at one table or file, `compare` at two, `page` shows it."""
