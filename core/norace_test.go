//go:build !race

package core

// racing says that the tests run under the race detector, which makes a walk ten times slower.
const racing = false
