package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ElementalHostRequestSpec is what a host says of itself when it asks to join. It never changes: who has something
// else to say asks anew.
type ElementalHostRequestSpec struct {
	// registration is the ElementalRegistration that the host asks through.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Registration string `json:"registration"`

	// publicKey is the host's HPKE public key (X25519, RFC 9180), in base64. The request bears the sha256 of its
	// bytes, in hexadecimal, as its name.
	// +required
	// +kubebuilder:validation:MinLength=40
	// +kubebuilder:validation:MaxLength=64
	PublicKey string `json:"publicKey"`

	// hostname is the name that the host wishes for.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[^[:cntrl:]]*$`
	Hostname string `json:"hostname,omitempty"`

	// serialNumber is that of the hardware, as the firmware says.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^[^[:cntrl:]]*$`
	SerialNumber string `json:"serialNumber,omitempty"`
}

// The conditions of an ElementalHostRequest.
const (
	// ConditionApproved is an administrator's ruling: true approves, false denies, absent says nothing.
	ConditionApproved = "Approved"
	// ConditionAdmitted is the controller's answer.
	ConditionAdmitted = "Admitted"
)

// ElementalHostRequestStatus is what became of a request.
type ElementalHostRequestStatus struct {
	// conditions: Approved is an administrator's ruling, Admitted the controller's answer.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// replaces is the ElementalHost whose place this key takes, by an administrator's ruling.
	// +optional
	Replaces string `json:"replaces,omitempty"`

	// hostName is the ElementalHost that the applicant is.
	// +optional
	HostName string `json:"hostName,omitempty"`

	// credentials let the host be that ElementalHost.
	// +optional
	Credentials *SealedCredentials `json:"credentials,omitempty"`
}

// SealedCredentials can be read by the one host that has the key.
type SealedCredentials struct {
	// sealed is the encapsulated key and the ciphertext of RFC 9180 in base mode (DHKEM(X25519, HKDF-SHA256),
	// HKDF-SHA256, AES-256-GCM).
	// +required
	// +kubebuilder:validation:MaxLength=700000
	Sealed []byte `json:"sealed"`

	// hostUID is the UID of the ElementalHost that they are for: one that was made anew under its name is another.
	// +required
	HostUID types.UID `json:"hostUID"`

	// expirationTime is when the token that is sealed ends.
	// +required
	ExpirationTime metav1.Time `json:"expirationTime"`
}

// ElementalHostRequest is a host that asks to join.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=elementalhostrequests,scope=Namespaced,categories=cluster-api
// +kubebuilder:subresource:status
// +kubebuilder:metadata:labels="cluster.x-k8s.io/provider=infrastructure-elemental"
// +kubebuilder:metadata:labels="cluster.x-k8s.io/v1beta2=v1beta1"
// +kubebuilder:validation:XValidation:rule="self.spec == oldSelf.spec",message="a request to join never changes; delete it, and the host asks anew"
// +kubebuilder:printcolumn:name="Registration",type="string",JSONPath=".spec.registration",description="Registration that the host asks through"
// +kubebuilder:printcolumn:name="Hostname",type="string",JSONPath=".spec.hostname",description="Name that the host wishes for"
// +kubebuilder:printcolumn:name="Serial",type="string",JSONPath=".spec.serialNumber",description="Serial number of the hardware, as it says"
// +kubebuilder:printcolumn:name="Answer",type="string",JSONPath=".status.conditions[?(@.type==\"Admitted\")].reason",description="What became of the request"
// +kubebuilder:printcolumn:name="Host",type="string",JSONPath=".status.hostName",description="ElementalHost that the applicant is"
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp"
// +kubebuilder:printcolumn:name="Message",type="string",priority=1,JSONPath=".status.conditions[?(@.type==\"Admitted\")].message",description="Why, and what to do"
type ElementalHostRequest struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec ElementalHostRequestSpec `json:"spec"`
	// +optional
	Status ElementalHostRequestStatus `json:"status,omitempty"`
}

// ElementalHostRequestList is a list of requests.
//
// +kubebuilder:object:root=true
type ElementalHostRequestList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ElementalHostRequest `json:"items"`
}
