"""Training on the devices: batches, compiled steps, optimisers, several devices and machines."""
