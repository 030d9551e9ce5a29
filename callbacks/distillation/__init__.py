"""Learn from a teacher."""
