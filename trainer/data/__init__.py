"""What networks see: sources of images, long-tailed selections, tasks, and batches on the device."""
