"""Extensions of Sphinx that make the site: formulas, and the pages that are written from the code and results/."""
