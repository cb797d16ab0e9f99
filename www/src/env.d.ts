declare module "virtual:samples" {
  /** File names in models/samples. */
  const names: string[];
  export default names;
}
