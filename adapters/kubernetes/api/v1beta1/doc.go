// Package v1beta1 holds Elemental's custom resources.
//
// The types implement Cluster API's v1beta2 contract. The agent on each host uses them too, so this
// package imports no client and no other API: what it borrows from those it spells out itself.
//
// +kubebuilder:object:generate=true
// +groupName=infrastructure.cluster.x-k8s.io
package v1beta1
