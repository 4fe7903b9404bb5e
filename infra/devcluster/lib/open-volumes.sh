#!/usr/bin/env bash
# Kubernetes' built-in provisioner makes volumes that only root may enter; pods here are other users. Opens each new one.
#   open-volumes.sh FOLDER
while sleep 0.3; do
  find "$1" -mindepth 1 -maxdepth 1 -perm 0750 -exec chmod 0777 {} +
done
