#!/usr/bin/env bash
# Starts the training on this machine's devices. What follows goes to accelerate: for several machines its --num_machines,
# --machine_rank, --main_process_ip and --main_process_port, and --num_processes for devices in all.
#
#   ./launch.sh                                  all weights on each device
#   CONFIG=zero3.yaml ./launch.sh                divided among the devices by DeepSpeed
#   CONFIG=zero3.yaml ./launch.sh --num_machines 2 --machine_rank 0 --main_process_ip 10.0.0.1 --num_processes 16
set -euo pipefail
cd "$(dirname "$0")"
exec accelerate launch --config_file "${CONFIG:-accelerate.yaml}" "$@" train.py
