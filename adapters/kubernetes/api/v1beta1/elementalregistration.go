package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// ElementalRegistrationSpec says how hosts join, and what they are then told.
type ElementalRegistrationSpec struct {
	// hostLabels are put on every ElementalHost that joins through this registration.
	// +optional
	HostLabels map[string]string `json:"hostLabels,omitempty"`

	// hostAnnotations are put on every ElementalHost that joins through this registration.
	// +optional
	HostAnnotations map[string]string `json:"hostAnnotations,omitempty"`

	// approval is how hosts are let in: Auto, whoever holds the token; Manual, whom an administrator approves;
	// AllowList, whose serial number or key stands in allowList.
	// +optional
	// +kubebuilder:validation:Enum=Auto;Manual;AllowList
	// +kubebuilder:default=Auto
	Approval string `json:"approval,omitempty"`

	// allowList holds serial numbers, and sha256 sums of public keys in hexadecimal, of the hosts that may join.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=10000
	// +kubebuilder:validation:items:MaxLength=256
	AllowList []string `json:"allowList,omitempty"`

	// maxHosts is how many hosts may live that joined through this registration; any number when it is absent.
	// +optional
	// +kubebuilder:validation:Minimum=1
	MaxHosts *int32 `json:"maxHosts,omitempty"`

	// config is what hosts are told.
	// +optional
	Config RegistrationConfig `json:"config,omitempty,omitzero"`
}

// RegistrationConfig is what hosts are told.
type RegistrationConfig struct {
	// cloudConfig is handed to the OS plugin of every host, which installs it.
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	CloudConfig *runtime.RawExtension `json:"cloudConfig,omitempty"`

	// elemental is the configuration of Elemental itself.
	// +optional
	Elemental ElementalConfig `json:"elemental,omitempty,omitzero"`
}

// ElementalConfig is the configuration of Elemental on a host.
type ElementalConfig struct {
	// install is handed to the OS plugin that installs the system.
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	Install *runtime.RawExtension `json:"install,omitempty"`

	// reset is handed to the OS plugin that resets the host.
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	Reset *runtime.RawExtension `json:"reset,omitempty"`

	// agent is the configuration of the agent.
	// +optional
	Agent AgentConfig `json:"agent,omitempty,omitzero"`

	// registration says where and how to register.
	// +optional
	Registration RegistrationAccess `json:"registration,omitempty,omitzero"`
}

// AgentConfig is the configuration of the agent.
type AgentConfig struct {
	// workDir is where the agent keeps what it must not forget.
	// +optional
	WorkDir string `json:"workDir,omitempty"`

	// hostname says how a host that joins is named.
	// +optional
	Hostname HostnameRule `json:"hostname,omitempty,omitzero"`

	// osPlugin is the OS plugin of the host.
	// +optional
	OSPlugin string `json:"osPlugin,omitempty"`

	// reconciliation is accepted for manifests of earlier agents and has no effect, since the agent is told of changes.
	// +optional
	Reconciliation *metav1.Duration `json:"reconciliation,omitempty"`

	// debug makes the agent log all that it does.
	// +optional
	Debug bool `json:"debug,omitempty"`

	// noSmbios keeps the agent from reading the serial number of the hardware.
	// +optional
	NoSMBIOS bool `json:"noSmbios,omitempty"`

	// postInstall is what follows the installation.
	// +optional
	PostInstall PowerAction `json:"postInstall,omitempty,omitzero"`

	// postReset is what follows a reset.
	// +optional
	PostReset PowerAction `json:"postReset,omitempty,omitzero"`
}

// HostnameRule says how a host that joins is named.
type HostnameRule struct {
	// useExisting takes the name that the system has.
	// +optional
	UseExisting bool `json:"useExisting,omitempty"`

	// prefix stands before the serial number, or before a part of the key where there is none.
	// +optional
	// +kubebuilder:validation:MaxLength=40
	Prefix string `json:"prefix,omitempty"`
}

// PowerAction ends a boot.
type PowerAction struct {
	// powerOff turns the host off.
	// +optional
	PowerOff bool `json:"powerOff,omitempty"`

	// reboot restarts the host.
	// +optional
	Reboot bool `json:"reboot,omitempty"`
}

// RegistrationAccess says where and how to register.
type RegistrationAccess struct {
	// uri is the URL of the management cluster's API server as hosts reach it; by default the one that the cluster
	// publishes of itself.
	// +optional
	// +kubebuilder:validation:Pattern=`^https://.+`
	// +kubebuilder:validation:MaxLength=1024
	URI string `json:"uri,omitempty"`

	// caCert holds the certificates, in PEM, of those who sign for that API server; by default the cluster's own.
	// +optional
	// +kubebuilder:validation:MaxLength=65536
	CACert string `json:"caCert,omitempty"`

	// tokenDuration is how long the token of a bundle lives, 24h by default. The cluster may grant less.
	// +optional
	TokenDuration *metav1.Duration `json:"tokenDuration,omitempty"`

	// longLived makes the bundle's token one without an end, for install media that lie in a drawer. It is revoked
	// by deleting the Secret elemental-reg-NAME-token.
	// +optional
	LongLived bool `json:"longLived,omitempty"`
}

// ElementalRegistrationStatus is what became of a registration.
type ElementalRegistrationStatus struct {
	// observedGeneration is the generation of the spec that the status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions of the registration.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=32
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// bundleSecret is the Secret with all that a host needs to register.
	// +optional
	BundleSecret string `json:"bundleSecret,omitempty"`

	// tokenExpirationTime is when the bundle's token ends; absent when it never does.
	// +optional
	TokenExpirationTime *metav1.Time `json:"tokenExpirationTime,omitempty"`

	// hosts is how many hosts live that joined through this registration.
	// +optional
	Hosts int32 `json:"hosts,omitempty"`
}

// ElementalRegistration lets hosts join.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=elementalregistrations,scope=Namespaced,categories=cluster-api
// +kubebuilder:subresource:status
// +kubebuilder:metadata:labels="cluster.x-k8s.io/provider=infrastructure-elemental"
// +kubebuilder:metadata:labels="cluster.x-k8s.io/v1beta2=v1beta1"
// +kubebuilder:metadata:labels="clusterctl.cluster.x-k8s.io/move=true"
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].status",description="Whether hosts can join"
// +kubebuilder:printcolumn:name="Approval",type="string",JSONPath=".spec.approval",description="How hosts are let in"
// +kubebuilder:printcolumn:name="Hosts",type="integer",JSONPath=".status.hosts",description="Hosts that joined and live"
// +kubebuilder:printcolumn:name="Token until",type="date",JSONPath=".status.tokenExpirationTime",description="When the bundle's token ends"
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp"
// +kubebuilder:printcolumn:name="Message",type="string",priority=1,JSONPath=".status.conditions[?(@.type==\"Ready\")].message",description="Why hosts cannot join"
type ElementalRegistration struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec ElementalRegistrationSpec `json:"spec,omitempty"`
	// +optional
	Status ElementalRegistrationStatus `json:"status,omitempty"`
}

// ElementalRegistrationList is a list of registrations.
//
// +kubebuilder:object:root=true
type ElementalRegistrationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ElementalRegistration `json:"items"`
}
