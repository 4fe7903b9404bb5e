module sphinx-x/devcluster/pause

go 1.24
