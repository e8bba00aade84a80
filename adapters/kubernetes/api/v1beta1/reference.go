package v1beta1

import "k8s.io/apimachinery/pkg/types"

// ObjectReference names another object. It is the part of Kubernetes' own ObjectReference that is used here.
//
// +structType=atomic
type ObjectReference struct {
	// apiVersion of the object.
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`

	// kind of the object.
	// +optional
	Kind string `json:"kind,omitempty"`

	// namespace of the object.
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// name of the object.
	// +optional
	Name string `json:"name,omitempty"`

	// uid of the object.
	// +optional
	UID types.UID `json:"uid,omitempty"`
}

// ObjectMeta is the metadata that a template gives to what is made from it, as Cluster API has it.
type ObjectMeta struct {
	// labels of the object.
	// +optional
	Labels map[string]string `json:"labels,omitempty"`

	// annotations of the object.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
}
