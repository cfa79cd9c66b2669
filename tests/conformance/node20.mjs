// The suite imports fs.globSync, which Node 20 lacks. Only its source-tree
// commands call it, never the server tests, so failing when called is enough.
const fs = process.getBuiltinModule('fs');

fs.globSync ??= () => {
  throw new Error('fs.globSync needs Node 22 or newer');
};
