"""Base classes and parts of tricks: `Trick`, `Schedule`, `FeatureDropout`, `Teacher`, averages."""
