// Package kubernetes is the management cluster as the controller sees it.
//
// A reconciler reads, asks the core, and writes what differs. Metadata and spec are written by a patch that
// names what changed, status by server-side apply of the conditions that are the controller's own; both name
// the version that was read, so that what was decided on old knowledge is never written.
package kubernetes
