"""The recurrent policy of the MnasNet controller: its network, sampling, losses and optimizer."""
