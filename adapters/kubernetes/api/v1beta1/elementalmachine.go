package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// ElementalMachineSpec is what a machine wants of the host that serves it.
type ElementalMachineSpec struct {
	// providerID is how the machine's node names itself: elemental://<namespace>/<host>.
	// This version does not use it yet.
	// +optional
	ProviderID string `json:"providerID,omitempty"`

	// selector chooses among the free hosts of the namespace; all of them when it is absent.
	// This version does not use it yet: hostRef names the host.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`

	// hostRef is the ElementalHost that serves this machine.
	// +optional
	HostRef *ObjectReference `json:"hostRef,omitempty"`

	// osVersionManagement is what the host's OS plugin is to make true. It is forwarded to the host.
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	OSVersionManagement *runtime.RawExtension `json:"osVersionManagement,omitempty"`

	// inPlaceUpdate says how the OS version of a bootstrapped host is updated.
	// +optional
	InPlaceUpdate *InPlaceUpdate `json:"inPlaceUpdate,omitempty"`

	// failureDomain is the failure domain that the machine is to be in. This version does not use it yet.
	// +optional
	FailureDomain string `json:"failureDomain,omitempty"`
}

// DrainMode says who drains a node before its host restarts.
type DrainMode string

// The two modes of draining.
const (
	// DrainAuto lets the controller drain.
	DrainAuto DrainMode = "Auto"
	// DrainManual leaves it to the user, who drains before arming the host.
	DrainManual DrainMode = "Manual"
)

// InPlaceUpdate says how the OS version of a bootstrapped host is updated.
type InPlaceUpdate struct {
	// drain is who drains the node before the host restarts.
	// +optional
	// +kubebuilder:validation:Enum=Auto;Manual
	Drain DrainMode `json:"drain,omitempty"`

	// drainTimeout is how long draining may take before it is called failed. This version does not use it yet.
	// +optional
	DrainTimeout *metav1.Duration `json:"drainTimeout,omitempty"`

	// stageFirst stages the new version while the node still serves, and drains after that.
	// This version does not use it yet.
	// +optional
	StageFirst *bool `json:"stageFirst,omitempty"`
}

// ElementalMachineStatus is what became of a machine.
type ElementalMachineStatus struct {
	// initialization is Cluster API's way to ask whether the machine exists. This version does not fill it in yet.
	// +optional
	Initialization MachineInitialization `json:"initialization,omitempty,omitzero"`

	// observedGeneration is the generation of the spec that the status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions of the machine.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=32
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// addresses of the machine. This version does not fill them in yet.
	// +optional
	// +listType=atomic
	Addresses []MachineAddress `json:"addresses,omitempty"`

	// failureDomain is the failure domain that the machine is in. This version does not fill it in yet.
	// +optional
	FailureDomain string `json:"failureDomain,omitempty"`

	// osVersion is that of the host that serves the machine.
	// +optional
	OSVersion *OSVersionStatus `json:"osVersion,omitempty"`
}

// MachineInitialization is Cluster API's way to ask whether the machine exists.
type MachineInitialization struct {
	// provisioned is true once the host has taken up the machine.
	// +optional
	Provisioned *bool `json:"provisioned,omitempty"`
}

// MachineAddress is one address of a machine.
type MachineAddress struct {
	// type is one of Hostname, ExternalIP, InternalIP, ExternalDNS, InternalDNS.
	// +required
	// +kubebuilder:validation:Enum=Hostname;ExternalIP;InternalIP;ExternalDNS;InternalDNS
	Type string `json:"type"`

	// address is the address itself.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Address string `json:"address"`
}

// ElementalMachine is the infrastructure half of a Cluster API Machine.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=elementalmachines,scope=Namespaced,categories=cluster-api
// +kubebuilder:subresource:status
// +kubebuilder:metadata:labels="cluster.x-k8s.io/provider=infrastructure-elemental"
// +kubebuilder:metadata:labels="cluster.x-k8s.io/v1beta2=v1beta1"
// +kubebuilder:printcolumn:name="Cluster",type="string",JSONPath=".metadata.labels['cluster\\.x-k8s\\.io/cluster-name']",description="Cluster that the machine belongs to"
// +kubebuilder:printcolumn:name="Machine",type="string",JSONPath=".metadata.ownerReferences[?(@.kind==\"Machine\")].name",description="Machine that owns this one"
// +kubebuilder:printcolumn:name="Host",type="string",JSONPath=".spec.hostRef.name",description="ElementalHost that serves the machine"
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].status",description="Whether the machine is what its spec asks for"
// +kubebuilder:printcolumn:name="Version",type="string",JSONPath=".status.osVersion.booted.version",description="OS version that runs"
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp"
// +kubebuilder:printcolumn:name="ProviderID",type="string",priority=1,JSONPath=".spec.providerID",description="Provider ID"
// +kubebuilder:printcolumn:name="Outcome",type="string",priority=1,JSONPath=".status.osVersion.outcome",description="What became of the OS version that was asked for"
// +kubebuilder:printcolumn:name="Message",type="string",priority=1,JSONPath=".status.conditions[?(@.type==\"Ready\")].message",description="Why the machine is not ready, or what runs"
type ElementalMachine struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec ElementalMachineSpec `json:"spec,omitempty"`
	// +optional
	Status ElementalMachineStatus `json:"status,omitempty"`
}

// ElementalMachineList is a list of machines.
//
// +kubebuilder:object:root=true
type ElementalMachineList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ElementalMachine `json:"items"`
}
