"""Tools that read or change a finished network: complexity, receptive fields, pruning, fusing, int8."""
