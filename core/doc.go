// Package core is what Elemental knows. It decides what a host does next, what a host's conditions
// add up to, and what an in-place update's label becomes. It is pure: it reads no clock, does no
// input or output, and knows neither Kubernetes nor any plugin. The same arguments always give the
// same answer, so every rule can be read in one table and proven by walking every state.
package core
