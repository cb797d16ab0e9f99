"""Training of SeTok and Setokim in PyTorch: the readable reference of the Rust library."""
