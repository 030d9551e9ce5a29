"""What the rows of papers share: data in memory, arms, claims, runs, initial weights."""
