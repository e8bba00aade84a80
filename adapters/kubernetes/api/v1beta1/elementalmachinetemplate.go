package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ElementalMachineTemplateSpec holds the machine that is made from the template.
type ElementalMachineTemplateSpec struct {
	// template of the machines.
	// +required
	Template ElementalMachineTemplateResource `json:"template"`
}

// ElementalMachineTemplateResource is the machine that is made from a template.
type ElementalMachineTemplateResource struct {
	// metadata that every machine gets.
	// +optional
	ObjectMeta ObjectMeta `json:"metadata,omitempty,omitzero"`

	// spec that every machine gets.
	// +required
	Spec ElementalMachineSpec `json:"spec"`
}

// ElementalMachineTemplate is what the machines of a MachineDeployment, or of a control plane, are made from.
// Its osVersionManagement may be edited before a rollout.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=elementalmachinetemplates,scope=Namespaced,categories=cluster-api,shortName=emt
// +kubebuilder:metadata:labels="cluster.x-k8s.io/provider=infrastructure-elemental"
// +kubebuilder:metadata:labels="cluster.x-k8s.io/v1beta2=v1beta1"
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp"
type ElementalMachineTemplate struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec ElementalMachineTemplateSpec `json:"spec,omitempty"`
}

// ElementalMachineTemplateList is a list of templates.
//
// +kubebuilder:object:root=true
type ElementalMachineTemplateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ElementalMachineTemplate `json:"items"`
}
