package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// ElementalHostSpec is what is wished of a host.
type ElementalHostSpec struct {
	// osVersionManagement is what the host's OS plugin is to make true. Only the plugin knows its schema.
	// On a host that serves an ElementalMachine it is copied from there.
	//
	// Any JSON decodes, also what the schema rejects, so that one odd object never hides the others.
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	OSVersionManagement *runtime.RawExtension `json:"osVersionManagement,omitempty"`

	// bootstrapSecret is the Secret whose data makes the host a node.
	// +optional
	BootstrapSecret *ObjectReference `json:"bootstrapSecret,omitempty"`

	// machineRef is the ElementalMachine that the host serves.
	// +optional
	MachineRef *ObjectReference `json:"machineRef,omitempty"`

	// pubKey is the host's public key.
	// +optional
	PubKey string `json:"pubKey,omitempty"`
}

// ElementalHostStatus is what a host says of itself, and what the controller concludes.
type ElementalHostStatus struct {
	// phase is the part of its life that the host is in.
	// +optional
	Phase string `json:"phase,omitempty"`

	// observedGeneration is the generation of the spec that the host last answered for.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions of the host. Each has one owner: the agent, or the controller.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=32
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// osVersion is what became of the OS version that was asked for.
	// +optional
	OSVersion *OSVersionStatus `json:"osVersion,omitempty"`

	// system describes the running system.
	// +optional
	System *SystemStatus `json:"system,omitempty"`
}

// OSVersionStatus is what became of the OS version that was asked for.
type OSVersionStatus struct {
	// requested is the sha256 of the canonical JSON of osVersionManagement; empty when nothing is requested.
	// +optional
	Requested string `json:"requested,omitempty"`

	// applied is the sha256 of the canonical JSON of the request that runs; empty when none of the known does.
	// +optional
	Applied string `json:"applied,omitempty"`

	// outcome is one of Applied, Applying, Staged, Failed, RolledBack.
	// +optional
	Outcome string `json:"outcome,omitempty"`

	// booted is the version that runs.
	// +optional
	Booted *Version `json:"booted,omitempty"`

	// staged is the version that is written and waits for a restart.
	// +optional
	Staged *Version `json:"staged,omitempty"`

	// previous is the version that the host would fall back to.
	// +optional
	Previous *Version `json:"previous,omitempty"`

	// attempts counts the stagings of this request.
	// +optional
	Attempts int32 `json:"attempts,omitempty"`

	// armed says whether the outcome speaks of a host that was armed for an in-place update.
	// +optional
	Armed bool `json:"armed,omitempty"`

	// retry is the value of the retry annotation that the outcome speaks of, or its sha256 if that is shorter.
	// +optional
	Retry string `json:"retry,omitempty"`

	// lastAttemptTime is when staging last began.
	// +optional
	LastAttemptTime *metav1.Time `json:"lastAttemptTime,omitempty"`

	// nextAttemptTime is when the host will try again; absent when it will not.
	// +optional
	NextAttemptTime *metav1.Time `json:"nextAttemptTime,omitempty"`

	// failure is the last failure; absent when there is none.
	// +optional
	Failure *Failure `json:"failure,omitempty"`

	// progress of what is under way. It is written at most once in two seconds.
	// +optional
	Progress *Progress `json:"progress,omitempty"`
}

// Version names one operating system as the plugin reports it.
type Version struct {
	// reference is how it was asked for.
	// +optional
	Reference string `json:"reference,omitempty"`

	// digest is what the reference resolved to.
	// +optional
	Digest string `json:"digest,omitempty"`

	// version is what the system calls itself.
	// +optional
	Version string `json:"version,omitempty"`
}

// Failure is what went wrong, for the person who must act on it.
type Failure struct {
	// class is one of invalid (not tried again until the request changes), retryable (tried again for ever), failed
	// (counts against the limit of attempts).
	// +optional
	Class string `json:"class,omitempty"`

	// reason is one CamelCase word for scripts.
	// +optional
	Reason string `json:"reason,omitempty"`

	// path is the field of osVersionManagement at fault.
	// +optional
	Path string `json:"path,omitempty"`

	// message says what is wrong and what to do.
	// +optional
	Message string `json:"message,omitempty"`
}

// Progress is how far a long step is.
type Progress struct {
	// step is what is being done.
	// +optional
	Step string `json:"step,omitempty"`

	// percent is how much of it is done, from 0 to 100; absent when that can't be told.
	// +optional
	Percent *int32 `json:"percent,omitempty"`

	// message says more.
	// +optional
	Message string `json:"message,omitempty"`
}

// SystemStatus describes the running system.
type SystemStatus struct {
	// bootID changes with every start of the host.
	// +optional
	BootID string `json:"bootID,omitempty"`

	// machineID is the content of /etc/machine-id.
	// +optional
	MachineID string `json:"machineID,omitempty"`

	// osImage is what the operating system calls itself.
	// +optional
	OSImage string `json:"osImage,omitempty"`

	// kernelVersion is the release of the running kernel.
	// +optional
	KernelVersion string `json:"kernelVersion,omitempty"`

	// architecture as Go names it, such as amd64.
	// +optional
	Architecture string `json:"architecture,omitempty"`

	// request is the UID of the ElementalHostRequest by which the host last got its identity.
	// +optional
	Request string `json:"request,omitempty"`

	// agentVersion is the version of the agent.
	// +optional
	AgentVersion string `json:"agentVersion,omitempty"`

	// plugin is the OS plugin that the agent uses.
	// +optional
	Plugin string `json:"plugin,omitempty"`

	// pluginSchema is the JSON Schema of osVersionManagement that the plugin publishes, as text. Whoever asks for
	// an OS version can hold it against the schema before the host does.
	// +optional
	// +kubebuilder:validation:MaxLength=65536
	PluginSchema string `json:"pluginSchema,omitempty"`
}

// ElementalHost is a machine that runs the agent.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=elementalhosts,scope=Namespaced,categories=cluster-api
// +kubebuilder:subresource:status
// +kubebuilder:metadata:labels="cluster.x-k8s.io/provider=infrastructure-elemental"
// +kubebuilder:metadata:labels="cluster.x-k8s.io/v1beta2=v1beta1"
// +kubebuilder:metadata:labels="clusterctl.cluster.x-k8s.io/move=true"
// +kubebuilder:printcolumn:name="Cluster",type="string",JSONPath=".metadata.labels['cluster\\.x-k8s\\.io/cluster-name']",description="Cluster that the host is a node of"
// +kubebuilder:printcolumn:name="Machine",type="string",JSONPath=".metadata.labels['elementalhost\\.infrastructure\\.cluster\\.x-k8s\\.io/machine-name']",description="Machine that the host serves"
// +kubebuilder:printcolumn:name="ElementalMachine",type="string",JSONPath=".metadata.labels['elementalhost\\.infrastructure\\.cluster\\.x-k8s\\.io/elemental-machine-name']",description="ElementalMachine that the host serves"
// +kubebuilder:printcolumn:name="Phase",type="string",JSONPath=".status.phase",description="Part of its life that the host is in"
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].status",description="Whether the host is what its spec asks for"
// +kubebuilder:printcolumn:name="Version",type="string",JSONPath=".status.osVersion.booted.version",description="OS version that runs"
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp"
// +kubebuilder:printcolumn:name="Digest",type="string",priority=1,JSONPath=".status.osVersion.booted.digest",description="Digest of the OS version that runs"
// +kubebuilder:printcolumn:name="Outcome",type="string",priority=1,JSONPath=".status.osVersion.outcome",description="What became of the OS version that was asked for"
// +kubebuilder:printcolumn:name="Message",type="string",priority=1,JSONPath=".status.conditions[?(@.type==\"Ready\")].message",description="Why the host is not ready, or what runs"
type ElementalHost struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec ElementalHostSpec `json:"spec,omitempty"`
	// +optional
	Status ElementalHostStatus `json:"status,omitempty"`
}

// ElementalHostList is a list of hosts.
//
// +kubebuilder:object:root=true
type ElementalHostList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ElementalHost `json:"items"`
}
