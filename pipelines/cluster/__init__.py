"""Where this project talks to Kubeflow: uploading pipelines, runs, schedules, and what a cluster lacks."""
