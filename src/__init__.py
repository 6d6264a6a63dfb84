"""AlexNet in JAX, with its two towers.

main, prepare, evaluate, predict: the commands.
experiment    compares variants of a recipe over several seeds
serve         a page to try a network on, and predictions over HTTP
report        a page about a trained run: curves, kernels, predictions
plan          speed and memory of a recipe on GPUs, without a GPU
export        a trained network in a file for other programs, with its model card
convert       weights from and to PyTorch, Caffe and NumPy files
retrieve      the training images most similar to an image
figures       one look for figures: curves of experiments, networks drawn from recipes
cli           runs a command: flags, errors in one line, exit statuses
training      the loop and its step, optimizer, schedule, initialization and metrics
writers       where metrics and pictures go: JSON lines, TensorBoard, W&B, MLflow
inference     forward passes, classification, evaluation, ensembles and nearest neighbors
runs          a run directory: lock, configuration, checkpoints, metrics and results
distributed   devices, the mesh, processes and preemption
data          datasets: sources, preparation, crops, augmentation and loading
models        the network alone: layers, architectures and published presets
filesystem    atomic writes, and the walk over a directory's files
errors        errors that a command reports in one line, and exit statuses
"""
