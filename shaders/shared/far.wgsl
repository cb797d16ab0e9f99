// Larger than any distance; WGSL has no infinity literal and drivers may assume there is none. Joined in front of the kernels
// of the clustering.

const FAR = 3.0e38;
