"""The columns of the Cost and Usage dataset of FOCUS 1.3, the FinOps Open Cost and Usage Specification (focus.finops.org).

Names, types, levels, nullability and allowed values are those of the specification's release 1.3. ProviderName and PublisherName are
deprecated there and still mandatory. Columns whose names begin with "x_" are ours, as the specification wants it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from llmthrift_core.exporters.columns import Column, Kind

FocusType = Literal["String", "Decimal", "Date/Time", "JSON"]
Level = Literal["Mandatory", "Conditional", "Recommended"]
VERSION: Final = "1.3"


@dataclass(frozen=True, slots=True)
class FocusColumn:
    """A column as the specification defines it.

    Attributes:
        level: "Mandatory" columns are always there; "Conditional" ones where their subject is.
        nullable: whether a row may leave it empty.
        allowed: the values that it may have; empty where it may have any.
    """

    name: str
    type: FocusType = "String"
    level: Level = "Conditional"
    nullable: bool = True
    allowed: tuple[str, ...] = ()


SERVICE_CATEGORIES: Final = (
    "AI and Machine Learning",
    "Analytics",
    "Business Applications",
    "Compute",
    "Databases",
    "Developer Tools",
    "Multicloud",
    "Identity",
    "Integration",
    "Internet of Things",
    "Management and Governance",
    "Media",
    "Migration",
    "Mobile",
    "Networking",
    "Security",
    "Storage",
    "Web",
    "Other",
)

FOCUS_COLUMNS: Final = (
    FocusColumn("AllocatedMethodId"),
    FocusColumn("AllocatedMethodDetails", "JSON", "Recommended"),
    FocusColumn("AllocatedResourceId"),
    FocusColumn("AllocatedResourceName"),
    FocusColumn("AllocatedTags", "JSON"),
    FocusColumn("AvailabilityZone", level="Recommended"),
    FocusColumn("BilledCost", "Decimal", "Mandatory", nullable=False),
    FocusColumn("BillingAccountId", level="Mandatory", nullable=False),
    FocusColumn("BillingAccountName", level="Mandatory"),
    FocusColumn("BillingAccountType", nullable=False),
    FocusColumn("BillingCurrency", level="Mandatory", nullable=False),
    FocusColumn("BillingPeriodEnd", "Date/Time", "Mandatory", nullable=False),
    FocusColumn("BillingPeriodStart", "Date/Time", "Mandatory", nullable=False),
    FocusColumn("CapacityReservationId"),
    FocusColumn("CapacityReservationStatus", allowed=("Used", "Unused")),
    FocusColumn("ChargeCategory", level="Mandatory", nullable=False, allowed=("Usage", "Purchase", "Tax", "Credit", "Adjustment")),
    FocusColumn("ChargeClass", level="Mandatory", allowed=("Correction",)),
    FocusColumn("ChargeDescription", level="Mandatory"),
    FocusColumn("ChargeFrequency", level="Recommended", nullable=False, allowed=("One-Time", "Recurring", "Usage-Based")),
    FocusColumn("ChargePeriodEnd", "Date/Time", "Mandatory", nullable=False),
    FocusColumn("ChargePeriodStart", "Date/Time", "Mandatory", nullable=False),
    FocusColumn("CommitmentDiscountCategory", allowed=("Spend", "Usage")),
    FocusColumn("CommitmentDiscountId"),
    FocusColumn("CommitmentDiscountName"),
    FocusColumn("CommitmentDiscountQuantity", "Decimal"),
    FocusColumn("CommitmentDiscountStatus", allowed=("Used", "Unused")),
    FocusColumn("CommitmentDiscountType"),
    FocusColumn("CommitmentDiscountUnit"),
    FocusColumn("ConsumedQuantity", "Decimal"),
    FocusColumn("ConsumedUnit"),
    FocusColumn("ContractApplied", "JSON"),
    FocusColumn("ContractedCost", "Decimal", "Mandatory", nullable=False),
    FocusColumn("ContractedUnitPrice", "Decimal"),
    FocusColumn("EffectiveCost", "Decimal", "Mandatory", nullable=False),
    FocusColumn("HostProviderName", level="Mandatory"),
    FocusColumn("InvoiceId", level="Recommended"),
    FocusColumn("InvoiceIssuerName", level="Mandatory", nullable=False),
    FocusColumn("ListCost", "Decimal", "Mandatory", nullable=False),
    FocusColumn("ListUnitPrice", "Decimal"),
    FocusColumn("PricingCategory", allowed=("Standard", "Dynamic", "Committed", "Other")),
    FocusColumn("PricingCurrency"),
    FocusColumn("PricingCurrencyContractedUnitPrice", "Decimal"),
    FocusColumn("PricingCurrencyEffectiveCost", "Decimal"),
    FocusColumn("PricingCurrencyListUnitPrice", "Decimal"),
    FocusColumn("PricingQuantity", "Decimal", "Mandatory"),
    FocusColumn("PricingUnit", level="Mandatory"),
    FocusColumn("ProviderName", level="Mandatory", nullable=False),
    FocusColumn("PublisherName", level="Mandatory", nullable=False),
    FocusColumn("RegionId"),
    FocusColumn("RegionName"),
    FocusColumn("ResourceId"),
    FocusColumn("ResourceName"),
    FocusColumn("ResourceType"),
    FocusColumn("ServiceProviderName", level="Mandatory", nullable=False),
    FocusColumn("ServiceCategory", level="Mandatory", nullable=False, allowed=SERVICE_CATEGORIES),
    FocusColumn("ServiceName", level="Mandatory", nullable=False),
    FocusColumn("ServiceSubcategory", level="Recommended", nullable=False),
    FocusColumn("SkuId"),
    FocusColumn("SkuMeter"),
    FocusColumn("SkuPriceDetails", "JSON"),
    FocusColumn("SkuPriceId"),
    FocusColumn("SubAccountId"),
    FocusColumn("SubAccountName"),
    FocusColumn("SubAccountType"),
    FocusColumn("Tags", "JSON"),
)

# What a FinOps team asks for beside it; the names follow the specification's convention for columns that are not its own.
OWN_COLUMNS: Final = (
    Column("x_Model"),
    Column("x_Feature"),
    Column("x_TokenKind"),
    Column("x_Attempts", "count"),
    Column("x_SavedCost", "money"),
)

_KINDS: Final[dict[FocusType, Kind]] = {"String": "text", "JSON": "text", "Date/Time": "moment", "Decimal": "decimal"}
_MONEY: Final = frozenset({"BilledCost", "ContractedCost", "EffectiveCost", "ListCost"})
EXPORTED_COLUMNS: Final = (
    *(Column(column.name, "money" if column.name in _MONEY else _KINDS[column.type]) for column in FOCUS_COLUMNS),
    *OWN_COLUMNS,
)
"""The columns of an exported file."""
