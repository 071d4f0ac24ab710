"""What is wrong with a data set, what is in it, and whether the anchors fit it: `yolact check`."""
