"""The plugins, one file per upstream plugin. Which of them run, with which weights, a profile says."""
