"""The built-in task families, one module each; `pptrain.create_task` imports the one it needs."""
