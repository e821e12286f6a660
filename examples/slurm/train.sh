#!/bin/bash
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@600      # ten minutes before the end: more than a round and a checkpoint take
#SBATCH --requeue

export PET_NNODES=$SLURM_NNODES PET_RDZV_BACKEND=c10d PET_RDZV_ID=$SLURM_JOB_ID
export PET_RDZV_ENDPOINT=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1):29500
export OMP_NUM_THREADS=8 HF_HUB_OFFLINE=1
srun --kill-on-bad-exit=1 safediffusion train sd14 --nproc 8 --out "$SLURM_SUBMIT_DIR/runs/sd14"
